"""What ran: runs, from the one door they come in by to what they leave behind."""
