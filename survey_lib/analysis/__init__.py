"""What results say, without a drawing: statistics, equal compression, claims, tables, literature."""
