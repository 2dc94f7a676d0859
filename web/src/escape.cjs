// RegExp.escape for browsers without it, as the openEO client asks for it.
exports.shim = () => {
  RegExp.escape = (text) => String(text).replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
};
