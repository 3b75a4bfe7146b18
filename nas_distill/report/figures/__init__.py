"""Figures as positions on paper; `templates/figures.svg.j2` draws them."""
