"""How good the alarms are, measured so that nobody is fooled: worlds, peers, figures, and the page that shows them."""
