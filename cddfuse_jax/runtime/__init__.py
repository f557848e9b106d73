"""What a process needs of its machine: huge pages, a compilation cache."""
