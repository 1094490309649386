//! The catalog.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    actor::{actor, principal},
    convert::catalog as convert,
    metrics::Metrics,
    pb::meterd::v1::{
        ApplyAssetsRequest, ApplyAssetsResponse, ApplyCatalogRequest, ApplyCatalogResponse,
        DeleteAssetRequest, DeleteAssetResponse, DeleteProductInstanceRequest,
        DeleteProductInstanceResponse, DeleteProductRequest, DeleteProductResponse,
        GetAssetRequest, GetAssetResponse, GetProductInstanceRequest, GetProductInstanceResponse,
        GetProductRequest, GetProductResponse, ListAssetsRequest, ListAssetsResponse,
        ListProductInstancesRequest, ListProductInstancesResponse, ListProductsRequest,
        ListProductsResponse, catalog_service_server::CatalogService,
    },
    status,
};
use crate::service::{assets::Assets, catalogs::Catalogs};

/// Serves `meterd.v1.CatalogService`.
#[derive(Debug, Clone)]
pub(super) struct CatalogHandler {
    pub(super) catalogs: Arc<Catalogs>,
    pub(super) assets: Arc<Assets>,
    pub(super) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl CatalogService for CatalogHandler {
    async fn apply_catalog(
        &self,
        request: Request<ApplyCatalogRequest>,
    ) -> Result<Response<ApplyCatalogResponse>, Status> {
        let actor = actor(&request)?;
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let desired = convert::desired_from_proto(request).map_err(status::from_service)?;
        let changes = self
            .catalogs
            .apply(&actor, desired, validate_only)
            .await
            .inspect_err(|error| self.metrics.kept.refused(error))
            .map_err(status::from_service)?;
        Ok(Response::new(convert::changes_to_proto(changes)))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let organization = principal(&request)?.caller.organization;
        let ListProductsRequest { page_size, page_token } = request.into_inner();
        let page = convert::page_from_proto(page_size, page_token);
        let page =
            self.catalogs.list_products(&organization, &page).map_err(status::from_service)?;
        Ok(Response::new(convert::products_to_proto(page)))
    }

    async fn get_product(
        &self,
        request: Request<GetProductRequest>,
    ) -> Result<Response<GetProductResponse>, Status> {
        let organization = principal(&request)?.caller.organization;
        let id = request.into_inner().product_id;
        let product = self.catalogs.product(&organization, &id).map_err(status::from_service)?;
        Ok(Response::new(GetProductResponse { product: Some(convert::product_to_proto(product)) }))
    }

    async fn delete_product(
        &self,
        request: Request<DeleteProductRequest>,
    ) -> Result<Response<DeleteProductResponse>, Status> {
        let actor = actor(&request)?;
        let id = request.into_inner().product_id;
        self.catalogs.delete_product(&actor, &id).await.map_err(status::from_service)?;
        Ok(Response::new(DeleteProductResponse {}))
    }

    async fn list_product_instances(
        &self,
        request: Request<ListProductInstancesRequest>,
    ) -> Result<Response<ListProductInstancesResponse>, Status> {
        let organization = principal(&request)?.caller.organization;
        let ListProductInstancesRequest { page_size, page_token } = request.into_inner();
        let page = convert::page_from_proto(page_size, page_token);
        let page =
            self.catalogs.list_instances(&organization, &page).map_err(status::from_service)?;
        Ok(Response::new(convert::instances_to_proto(page)))
    }

    async fn get_product_instance(
        &self,
        request: Request<GetProductInstanceRequest>,
    ) -> Result<Response<GetProductInstanceResponse>, Status> {
        let organization = principal(&request)?.caller.organization;
        let id = request.into_inner().product_instance_id;
        let instance = self.catalogs.instance(&organization, &id).map_err(status::from_service)?;
        let product_instance = Some(convert::instance_to_proto(instance));
        Ok(Response::new(GetProductInstanceResponse { product_instance }))
    }

    async fn delete_product_instance(
        &self,
        request: Request<DeleteProductInstanceRequest>,
    ) -> Result<Response<DeleteProductInstanceResponse>, Status> {
        let actor = actor(&request)?;
        let id = request.into_inner().product_instance_id;
        self.catalogs.delete_instance(&actor, &id).await.map_err(status::from_service)?;
        Ok(Response::new(DeleteProductInstanceResponse {}))
    }

    async fn apply_assets(
        &self,
        request: Request<ApplyAssetsRequest>,
    ) -> Result<Response<ApplyAssetsResponse>, Status> {
        let actor = actor(&request)?;
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let assets = convert::assets_from_proto(request.assets).map_err(status::from_service)?;
        let changes =
            self.assets.apply(&actor, assets, validate_only).await.map_err(status::from_service)?;
        Ok(Response::new(convert::asset_changes_to_proto(changes)))
    }

    async fn list_assets(
        &self,
        request: Request<ListAssetsRequest>,
    ) -> Result<Response<ListAssetsResponse>, Status> {
        let caller = principal(&request)?.caller;
        let ListAssetsRequest { page_size, page_token } = request.into_inner();
        let page = convert::page_from_proto(page_size, page_token);
        let page = self.assets.list(&caller, &page).await.map_err(status::from_service)?;
        Ok(Response::new(ListAssetsResponse {
            assets: page.items.into_iter().map(convert::asset_to_proto).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn get_asset(
        &self,
        request: Request<GetAssetRequest>,
    ) -> Result<Response<GetAssetResponse>, Status> {
        let caller = principal(&request)?.caller;
        let id = request.into_inner().asset_id;
        let asset = self.assets.asset(&caller, &id).await.map_err(status::from_service)?;
        Ok(Response::new(GetAssetResponse { asset: Some(convert::asset_to_proto(asset)) }))
    }

    async fn delete_asset(
        &self,
        request: Request<DeleteAssetRequest>,
    ) -> Result<Response<DeleteAssetResponse>, Status> {
        let actor = actor(&request)?;
        let id = request.into_inner().asset_id;
        self.assets.delete(&actor, &id).await.map_err(status::from_service)?;
        Ok(Response::new(DeleteAssetResponse {}))
    }
}
