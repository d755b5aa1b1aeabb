from itertools import chain

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from .models import Item


def save(request):
    Item.objects.create(name="item")
    return HttpResponse()


async def asave(request):
    await Item.objects.acreate(name="item")
    return HttpResponse()


def stream(request):
    names = Item.objects.values_list("name", flat=True).iterator(chunk_size=10)
    # The first row is fetched before the response starts.
    return StreamingHttpResponse(f"{name}\n" for name in chain([next(names)], names))


urlpatterns = [
    path("sync/", save),
    path("async/", asave),
    path("stream/", stream),
]
