// In the place of what the page leaves out.
export default {};
