"""Payload formats and bitstream syntax of the codecs Sanhui takes."""
