_base_ = ['./td-hm_lpn50_8xb32-150e_coco-256x192.py']

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(288, 384), heatmap_size=(72, 96), sigma=3)

# model settings
model = dict(head=dict(decoder=codec))

# pipelines
train_pipeline = _base_.train_pipeline
train_pipeline[4].input_size = codec['input_size']
train_pipeline[5].encoder = codec
val_pipeline = _base_.val_pipeline
val_pipeline[2].input_size = codec['input_size']

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
