"""Pages that show what a reconstruction is worth: HTML, charts and pictures without other packages."""
