"""The formats that diagrams are written in: readers and writers, text in, values out."""
