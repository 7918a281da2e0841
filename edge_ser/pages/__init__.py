"""Reports as one file each that loads nothing from anywhere: parts of pages and figures."""
