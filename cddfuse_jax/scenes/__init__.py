"""What the procedural pairs are painted of: canvas, scenery, warm targets."""
