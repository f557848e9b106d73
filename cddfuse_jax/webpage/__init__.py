"""The page in the browser: what one visitor's request does, and how the page looks."""
