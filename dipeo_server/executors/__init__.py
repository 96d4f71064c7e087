"""Graphs run from Python: the two executors, and everything a program needs beside them."""
