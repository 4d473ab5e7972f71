"""The audit sample (question 20): random, stratified, and drawn again the same by anyone who has the seed that the log holds."""
