"""An application that asks the database as soon as it is loaded."""

from jobs import Item
from web import wsgi

application = wsgi
Item.objects.exists()
