"""The archive: outputs fetched, checked and stored with their papers; what is at risk; rows made of papers again."""
