"""Sections of the report: sentences, tables and notes, without markup."""
