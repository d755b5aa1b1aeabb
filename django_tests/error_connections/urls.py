from django.contrib.auth.models import Group
from django.http import HttpResponseNotFound


def page_not_found(request, exception):
    return HttpResponseNotFound(f"There are {Group.objects.count()} groups.")


handler404 = page_not_found
urlpatterns = []
