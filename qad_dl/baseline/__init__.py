"""What a deep model has to beat: the rule that shifters use today, and the linear peer (interfaces, section 8)."""
