"""What people read: figures, statistics, literature, notebooks, exercises."""
