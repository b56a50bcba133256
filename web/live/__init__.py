"""HTTP handlers of media: live HLS, recorded HLS, and the MP4 for download."""
