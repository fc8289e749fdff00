"""What this installation is made of: health, versions, room, and a bundle for its support."""
