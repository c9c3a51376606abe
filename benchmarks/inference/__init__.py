"""How often the audit's intervals cover and its verdicts err, on cohorts whose truth is planted."""
