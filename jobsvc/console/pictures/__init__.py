"""Pictures: SVG made by the server, coloured by the page's own tokens, each told in words, too."""
