"""Finding Pis on a network: who answers, and who asks."""
