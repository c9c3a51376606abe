"""What can be known of group means, differences and changes: intervals that know patients."""
