"""The job store: the only SQLAlchemy in the project. Values go in and out; rows, sessions and errors stay here."""
