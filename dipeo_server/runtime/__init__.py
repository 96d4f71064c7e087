"""The part that acts: runs what the machine wants, through the ports."""
