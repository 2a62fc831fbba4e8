"""What is taken out of the corpus, and why: copies, licences, lengths, benchmark text."""
