"""The SQL database: experiments in, cells out."""
