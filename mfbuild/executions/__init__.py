"""What is registered, at work: started, watched, read and ended."""
