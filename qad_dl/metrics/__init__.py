"""How good the alarms are: the measures of interfaces, section 8, as pure functions of arrays."""
