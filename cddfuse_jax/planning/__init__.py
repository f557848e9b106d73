"""What a compiler knows of a program before it runs: memory, arithmetic, traffic, time."""
