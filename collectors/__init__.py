"""What is measured beside the traffic during a trial."""
