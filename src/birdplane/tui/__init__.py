"""The cockpit: `birdplane tui`. Its process never imports torch; it talks to run folders and to the helper only."""
