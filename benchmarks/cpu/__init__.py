"""Speed on this processor, against the official packages at their fastest setting here."""
