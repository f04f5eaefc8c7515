"""Plot code: SVG for pages, matplotlib for files."""
