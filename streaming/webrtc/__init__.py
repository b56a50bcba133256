"""WebRTC: one UDP and one TCP port, ICE-lite, DTLS-SRTP, session descriptions, and what stands on them (WHEP, WHIP)."""
