"""What builds, starts and checks things around Sanhui; not part of the service and not in the wheel."""
