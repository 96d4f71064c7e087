"""A diagram as a picture, and the picture as text for programs that draw: DOT and Mermaid."""
