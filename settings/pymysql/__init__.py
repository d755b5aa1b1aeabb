"""Django's MySQL backend with PyMySQL for a driver."""
