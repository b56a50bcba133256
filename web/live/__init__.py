"""HTTP handlers of media (HLS live and recorded, the MP4 for download, WHEP, WHIP, talking), and the event socket."""
