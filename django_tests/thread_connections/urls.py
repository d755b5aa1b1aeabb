from django.http import HttpResponse
from django.urls import path

from .models import Item


def save(request):
    Item.objects.create(name="item")
    return HttpResponse()


async def asave(request):
    await Item.objects.acreate(name="item")
    return HttpResponse()


urlpatterns = [
    path("sync/", save),
    path("async/", asave),
]
