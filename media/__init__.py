"""What a stream is: packets, access units, codecs, clocks, containers, pictures. No network, no disk, no database."""
