"""How media moves: RTSP, HLS, WebRTC, and which camera is connected where. No disk, no database."""
