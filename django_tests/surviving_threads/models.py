from django.db import models


class Item(models.Model):
    """The model of the projects, in what are their production databases."""

    name = models.CharField(max_length=100)

    class Meta:
        db_table = "app_item"
