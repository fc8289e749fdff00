"""Everything below ``/api/``. What is not here is a 404 in the envelope, not a page."""

from __future__ import annotations

from typing import Any, NoReturn

from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.views import APIView

from jobsvc.api.envelope import AlwaysTheEnvelope
from jobsvc.api.routes import both


class UnknownAddress(APIView):
    """Answers every address that nothing else answers, whoever asks and however."""

    authentication_classes = ()
    permission_classes = ()
    content_negotiation_class = AlwaysTheEnvelope
    schema = None

    def initial(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotFound("There is nothing at this address. Compare it with the list at /api/docs/.")


@method_decorator(require_safe, name="dispatch")
class Page(SpectacularSwaggerSplitView):
    """The page about the API. Only to be read: its renderer has no way to show a refusal."""


urlpatterns = [
    path("v2/", include("jobsvc.api.v2.urls")),
    path("v3/", include("jobsvc.api.v3.urls")),
    *both("schema", SpectacularAPIView),
    *both(
        "docs",
        Page,
        template_name="api/docs.html",
        url="/api/schema/",
    ),
    re_path(r"", UnknownAddress.as_view()),
]
