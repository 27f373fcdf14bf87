"""Small experiments on real numbers, one module each: functions that return records, and print nothing."""
