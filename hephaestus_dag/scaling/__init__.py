"""The scaling law: a ladder of proxy models at several agent ratios, the law fitted to their losses, and the best ratio."""
